// Microseconds for go-tdx-guest to verify a TDX quote, the least of many runs: AT QUOTE, signatures
// and chains alone: go-tdx-guest compares the FMSPC's letters by case, and refuses collateral as Intel writes it today.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/google/go-tdx-guest/abi"
	"github.com/google/go-tdx-guest/verify"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	at, err := time.Parse(time.RFC3339, os.Args[1])
	must(err)
	raw, err := os.ReadFile(os.Args[2])
	must(err)
	options := &verify.Options{Now: at}
	quote, err := abi.QuoteToProto(raw)
	must(err)
	best := time.Hour
	for i := 0; i < 200; i++ {
		start := time.Now()
		must(verify.TdxQuote(quote, options))
		best = min(best, time.Since(start))
	}
	fmt.Println(best.Microseconds())
}

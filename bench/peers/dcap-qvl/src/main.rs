//! Microseconds for dcap-qvl to verify a quote, the least of many runs: AT QUOTE COLLATERAL, as attestation_bench has it.
//! The collateral is parsed beforehand; dcap-qvl verifies it each time, for it has no other form.
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let at: u64 = args[1].parse()?;
    let quote = std::fs::read(&args[2])?;
    let collateral: dcap_qvl::QuoteCollateralV3 = serde_json::from_slice(&std::fs::read(&args[3])?)?;
    let mut best = f64::MAX;
    for _ in 0..300 {
        let start = Instant::now();
        dcap_qvl::verify::verify(&quote, &collateral, at).map_err(|e| e.to_string())?;
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("{best:.0}");
    Ok(())
}

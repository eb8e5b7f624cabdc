// One GET as collateral is fetched, for owner_tools_test.py: prints the status and the body, or the error.
#include <iostream>

#include "attestation/collateral/http.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto reply = infenclave::HttpGet(argv[1], std::chrono::seconds(10));
  if (reply.ok()) {
    std::cout << reply->status << " " << reply->body << "\n";
  } else {
    std::cout << reply.status() << "\n";
  }
}

// Which instruction set runs: read by Python, changed by tests.
#pragma once

#include <string>
#include <vector>

namespace biomechau {

std::string isa_name();
std::vector<std::string> supported_isas();
void select_isa(const std::string& name);

}  // namespace biomechau

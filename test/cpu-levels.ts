/** What `BGE_CPU_ISA` can name, see native/cpu/isa.cpp. No machine has them all. */
export const CPU_LEVELS = ["plain", "scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "amx", "neon", "dotprod", "i8mm"];

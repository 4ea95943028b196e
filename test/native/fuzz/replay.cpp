// Runs a fuzz target over files and the files of folders, where there is no libFuzzer.
#include "fuzz.h"
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

int main(int argc, char ** argv) {
    LLVMFuzzerInitialize(&argc, &argv);
    size_t n = 0;
    const auto run = [&](const std::filesystem::path & path) {
        std::ifstream file(path, std::ios::binary);
        const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        std::fprintf(stderr, "%s\n", path.c_str()); // the last line before a crash names its input
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
        n++;
    };
    for (int i = 1; i < argc; i++) {
        if (!std::filesystem::is_directory(argv[i])) run(argv[i]);
        else for (const auto & entry : std::filesystem::recursive_directory_iterator(argv[i])) if (entry.is_regular_file()) run(entry.path());
    }
    std::printf("%zu inputs\n", n);
    return n == 0;
}

// The vocabulary that a GGUF file carries.
#pragma once
#include "tokenizer/tokenizer.h"

namespace bge {

class ModelFile;

Vocabulary read_vocabulary(const ModelFile & file);

} // namespace bge

// Normalizer: the steps that change the text before it is split. Each takes the whole stretch between two added tokens.
//
//   nfc | nfd | nfkc | nfkd | lowercase | strip_accents
//   strip LEFT RIGHT                          white space at the ends; true or false
//   replace KIND PATTERN CONTENT              see pattern.h
//   prepend TEXT                              unless the text is empty
//   precompiled                               the vocabulary's charsmap
//   bert CLEAN CHINESE ACCENTS LOWERCASE      true or false each
#pragma once
#include "tokenizer.h"

#include <functional>

namespace bge {

class Normalizer {
  public:
    Normalizer(const std::vector<TokenizerSpec::Step> & steps, const std::string & charsmap);

    std::string normalize(std::string_view utf8) const;
    // Bytes at the end of a normalized text that more text could still change.
    size_t unsettled_size() const { return unsettled_size_; }
    // Whether the first character of the result may come from behind the first character of the text.
    bool may_remove_start() const { return may_remove_start_; }

  private:
    // Steps that may make a text much longer stop at a limit, in bytes.
    std::vector<std::function<std::string(std::string text, size_t limit)>> steps_;
    size_t unsettled_size_ = 64;
    bool may_remove_start_ = false;
};

} // namespace bge

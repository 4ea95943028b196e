// Small vocabularies made up here: what no corpus reaches. Random and broken text, early stops, very long words,
// damaged files. The ids of real vocabularies are checked in test/parity.
#include "error.h"
#include "tokenizer/byte-characters.h"
#include "tokenizer/regex.h"
#include "tokenizer/tokenizer.h"

#include <cstdio>
#include <cstdlib>
#include <algorithm>
#include <cmath>
#include <random>

using bge::EncodeOptions;
using bge::Tokenizer;
using bge::TokenizerSpec;
using bge::Vocabulary;
using Ids = std::vector<int32_t>;

namespace {

int failures = 0;

void check(bool holds, const std::string & what) {
    if (holds) return;
    ++failures;
    std::printf("FAILED %s\n", what.c_str());
}

const std::string space = "\xE2\x96\x81";

TokenizerSpec unigram_spec() {
    TokenizerSpec spec;
    spec.model = "unigram";
    spec.normalizer = {{"nfkc"}, {"strip", "false", "true"}, {"replace", "regex", " {2,}", space}};
    spec.pre_tokenizer = {{"metaspace", space, "always", "true"}};
    spec.added_tokens = {{0, "<s>", true, false, false, false, false}, {1, "<mask>", true, true, true, false, false}};
    return spec;
}

Vocabulary unigram_vocabulary() {
    Vocabulary v;
    v.pieces = {"<s>", "<mask>", "<unk>", space, "a", "b", "ab", "aa", "aaa", "ba", space + "a", space + "ab", "\xE4\xB8\xAD", "c", "bc", "x"};
    v.scores = {0, 0, 0, -3.f, -2.f, -2.5f, -3.f, -2.9f, -3.7f, -3.1f, -2.2f, -4.f, -5.f, -3.f, -4.f, -6.f};
    v.types = {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    v.unknown_id = 2;
    return v;
}

TokenizerSpec bpe_spec() {
    TokenizerSpec spec;
    spec.model = "bpe";
    spec.normalizer = {{"prepend", space}, {"replace", "string", " ", space}};
    spec.options = {{"unk_token", "<unk>"}, {"fuse_unk", "true"}, {"byte_fallback", "true"}};
    spec.added_tokens = {{1, "<s>", true, false, false, false, false}, {2, "\n", false, false, false, false, false}};
    return spec;
}

Vocabulary bpe_vocabulary() {
    Vocabulary v;
    v.pieces = {"<unk>", "<s>", "\n", space, "a", "b", "c"};
    for (const char * merge : {"a b", "b a", "a a", "ab ab", "aa aa", "ba c", "c c", "aaaa aa", "ab a"}) {
        v.merges.push_back(merge);
        std::string piece = merge;
        piece.erase(piece.find(' '), 1);
        v.pieces.push_back(piece);
    }
    v.pieces.pop_back(); // "aba" is made twice
    v.pieces.push_back("aba");
    v.merges.push_back(space + " a");
    v.pieces.push_back(space + "a");
    v.merges.push_back("a ba");
    for (int byte = 0; byte < 256; ++byte) {
        char name[8];
        std::snprintf(name, sizeof name, "<0x%02X>", byte);
        v.pieces.push_back(name);
    }
    v.unknown_id = 0;
    return v;
}

TokenizerSpec wordpiece_spec() {
    TokenizerSpec spec;
    spec.model = "wordpiece";
    spec.normalizer = {{"bert", "true", "true", "true", "true"}};
    spec.pre_tokenizer = {{"bert"}};
    spec.added_tokens = {{1, "[CLS]", true, false, false, false, false}};
    return spec;
}

Vocabulary wordpiece_vocabulary() {
    Vocabulary v;
    v.pieces = {"[UNK]", "[CLS]", space + "a", "a", space + "ab", "b", space + "!", space + "\xE4\xB8\xAD"};
    v.types = {3, 3, 1, 1, 1, 1, 1, 1};
    v.unknown_id = 0;
    return v;
}

// The bytes as pieces, a few merges between them and between the bytes of a character, and one piece that no merge makes.
Vocabulary byte_level_vocabulary() {
    Vocabulary v;
    v.pieces = {"<s>", "<mask>"};
    for (int byte = 0; byte < 256; ++byte) {
        std::string piece;
        bge::append_byte_characters(piece, std::string(1, static_cast<char>(byte)));
        v.pieces.push_back(piece);
    }
    const std::pair<const char *, const char *> merges[] = {{"a", "b"}, {" ", "a"}, {"a", "a"}, {"ab", "ab"}, {" ", " "}, {"  ", "  "}, {"\xE4", "\xB8"}, {"\xE4\xB8", "\xAD"}, {" a", "b"}, {"!", "\n"}, {"\n", "\n"}};
    for (const auto & [left, right] : merges) {
        std::string a, b;
        bge::append_byte_characters(a, left);
        bge::append_byte_characters(b, right);
        v.merges.push_back(a + " " + b);
        v.pieces.push_back(a + b);
    }
    v.pieces.push_back("abac");
    v.pieces.push_back("  "); // an added token
    return v;
}

TokenizerSpec byte_level_spec() {
    TokenizerSpec spec;
    spec.model = "bpe";
    spec.normalizer = {{"nfc"}};
    spec.pre_tokenizer = {{"byte_level", "false", "true"}};
    spec.added_tokens = {{0, "<s>", true, false, false, false, false}, {1, "<mask>", true, true, true, false, false}};
    return spec;
}

TokenizerSpec qwen_spec() {
    TokenizerSpec spec = byte_level_spec();
    const char * pattern = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    spec.pre_tokenizer = {{"split", "regex", pattern, "isolated", "false"}, {"byte_level", "false", "false"}};
    return spec;
}

struct Kind {
    const char * name;
    TokenizerSpec spec;
    Vocabulary vocabulary;
};

std::vector<Kind> kinds() {
    std::vector<Kind> all = {{"unigram", unigram_spec(), unigram_vocabulary()}, {"bpe", bpe_spec(), bpe_vocabulary()}, {"wordpiece", wordpiece_spec(), wordpiece_vocabulary()}};
    all.push_back(all[0]);
    all.back().name = "unigram in one piece";
    all.back().spec.pre_tokenizer = {{"metaspace", space, "never", "false"}};
    all.push_back({"byte level", byte_level_spec(), byte_level_vocabulary()});
    all.push_back({"byte level as Qwen", qwen_spec(), byte_level_vocabulary()});
    all.push_back(all.back());
    all.back().name = "byte level, whole words, a blank in front, normalized tokens";
    all.back().spec.options = {{"ignore_merges", "true"}};
    all.back().spec.pre_tokenizer[1][1] = "true";
    all.back().spec.added_tokens.push_back({int32_t(all.back().vocabulary.pieces.size()) - 1, "  ", false, true, false, false, false});
    return all;
}

std::string random_text(std::mt19937 & random, size_t size, bool broken) {
    const std::vector<std::string> parts = {"a", "b", "c", "aa", "ab", " ", "  ", "\n", "<s>", "<mask>", "[CLS]", "\xE4\xB8\xAD", "\xC3\xA9", "e\xCC\x81", "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9", "!", "x", "y", std::string(1, '\0'), "\r\n", "\xE3\x80\x80"};
    std::string text;
    while (text.size() < size) {
        if (broken && random() % 4 == 0) text.push_back(static_cast<char>(random()));
        else text += parts[random() % parts.size()];
        if (random() % 200 == 0) text += std::string(random() % 3000, "ab c"[random() % 4]);
    }
    return text;
}

// The first ids of a text are the same, however few of them are asked for.
void test_early_stop() {
    std::mt19937 random(7);
    for (const Kind & kind : kinds()) {
        const auto tokenizer = Tokenizer::create(kind.vocabulary, kind.spec);
        for (int round = 0; round < 60; ++round) {
            const std::string text = random_text(random, 1000 + random() % 60000, round % 2 == 1);
            for (const bool parse_special : {true, false}) {
                const Ids all = tokenizer->encode(text, {parse_special, SIZE_MAX});
                for (const size_t n : {size_t(1), size_t(7), size_t(100), size_t(1000), size_t(random() % 20000 + 1)}) {
                    const Ids some = tokenizer->encode(text, {parse_special, n});
                    const size_t wanted = std::min(n, all.size());
                    const bool same = some.size() >= wanted && some.size() <= all.size() && std::equal(some.begin(), some.end(), all.begin());
                    check(same, std::string("early stop: ") + kind.name + ", round " + std::to_string(round) + ", " + std::to_string(n) + " ids");
                }
            }
        }
    }
}

void test_random_bytes() {
    std::mt19937 random(11);
    for (const Kind & kind : kinds()) {
        const auto tokenizer = Tokenizer::create(kind.vocabulary, kind.spec);
        for (int round = 0; round < 3000; ++round) {
            std::string text(random() % 40, '\0');
            for (char & c : text) c = static_cast<char>(random() % 3 ? 0x80 + random() % 128 : random());
            for (const int32_t id : tokenizer->encode(text)) check(id >= 0 && size_t(id) < tokenizer->vocabulary_size(), std::string("id of random bytes: ") + kind.name);
        }
    }
}

void test_broken_utf8() {
    const auto tokenizer = Tokenizer::create(bpe_vocabulary(), bpe_spec());
    const Ids replaced = tokenizer->encode("a\xEF\xBF\xBD" "b");
    for (const char * text : {"a\xFF" "b", "a\xE4\xB8" "b", "a\xF0\x9F\x91" "b", "a\xC0" "b"}) check(tokenizer->encode(text) == replaced, "one U+FFFD for broken UTF-8");
    check(tokenizer->encode("a\xED\xA0\x80" "b") == tokenizer->encode("a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD" "b"), "three for a surrogate, as TextDecoder");
    check(tokenizer->encode("").empty(), "no ids for no text");
    check(tokenizer->encode(std::string(10000, '\x80'), {true, 10}).size() >= 10, "an early stop among bytes of no character");
}

void test_long_words() {
    for (const Kind & kind : kinds()) {
        const auto tokenizer = Tokenizer::create(kind.vocabulary, kind.spec);
        for (const char * unit : {"a", "ab", "abac", "\xE4\xB8\xAD", "e\xCC\x81", "y", " ", "\xCC\x81"}) {
            std::string text;
            while (text.size() < 1000000) text += unit;
            const Ids all = tokenizer->encode(text);
            const Ids some = tokenizer->encode(text, {true, 512});
            check(some.size() >= std::min<size_t>(512, all.size()) && std::equal(some.begin(), some.end(), all.begin()), std::string("long word: ") + kind.name + " of " + unit);
        }
    }
}

// Words from a threshold on are encoded from left to right; below it by a heap of merges. Both must agree.
void test_long_bpe_segments() {
    const auto tokenizer = Tokenizer::create(bpe_vocabulary(), bpe_spec());
    std::mt19937 random(5);
    for (int round = 0; round < 40; ++round) {
        std::string text;
        while (text.size() < 16383) text += "abc"[random() % (2 + round % 2)]; // with the prefix just below
        text.resize(16000);
        const Ids by_heap = tokenizer->encode(text);
        const std::string longer = text + std::string(2000, 'c');
        const Ids left_to_right = tokenizer->encode(longer);
        size_t same = 0;
        while (same < by_heap.size() && by_heap[same] == left_to_right[same]) ++same;
        check(same + 8 >= by_heap.size(), "left to right differs from the heap at " + std::to_string(same) + " of " + std::to_string(by_heap.size()));
    }
}

void test_special_tokens() {
    const auto unigram = Tokenizer::create(unigram_vocabulary(), unigram_spec());
    check(unigram->encode("a<s>a") == Ids({10, 0, 10}), "special token in text");
    check(unigram->encode("a <mask>a") == Ids({10, 1, 10}), "mask takes the blank on its left");
    for (const char * text : {"a<s>a", "<s>", "<mask>", "<s><s> <mask>"}) {
        for (const int32_t id : unigram->encode(text, {false, SIZE_MAX})) check(id != 0 && id != 1, "special tokens as text");
    }
    check(unigram->encode("a  a ") == Ids({10, 10}), "white space is collapsed and stripped");
    const auto bpe = Tokenizer::create(bpe_vocabulary(), bpe_spec());
    check(bpe->encode("a<s>\n") == Ids({bpe->encode("a")[0], 1, 2}), "added tokens side by side");
    check(bpe->encode("<s>", {false, SIZE_MAX}).size() > 1, "special token as bytes");
}

template <typename F> void expect_error(const char * code, const char * names, F && make) {
    try {
        make();
        check(false, std::string("no error for ") + names);
    } catch (const bge::Error & error) {
        check(std::string(error.code) == code && std::string(error.what()).find(names) != std::string::npos, std::string("error: ") + error.what());
    }
}

std::vector<std::string> split(const std::string & pattern, const std::string & text) {
    const bge::Regex regex(pattern);
    bge::Regex::Matcher matcher(regex, text);
    std::vector<std::string> out;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = matcher.match(begin);
        if (end != bge::Regex::npos) out.push_back(text.substr(begin, end - begin));
        begin = end != bge::Regex::npos ? end : begin + 1;
    }
    return out;
}

using Texts = std::vector<std::string>;

// What Oniguruma gives (tokenizers 0.23.3, pre_tokenizers.Split with "removed" and invert).
void test_regex() {
    const std::string gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    check(split(gpt2, "it's  a 12\u00BD test!!  ") == Texts({"it", "'s", " ", " a", " 12\u00BD", " test", "!!", "  "}), "GPT-2's pattern");
    check(split("(?i:'s|k)", "'S'\u017F\u212Ak'") == Texts({"'S", "'\u017F", "\u212A", "k"}), "case is ignored as Unicode folds it");
    check(split("a{2,3}", "aaaaaaa") == Texts({"aaa", "aaa"}), "counted repeats");
    check(split("[a-c\\-]+x?|d", "ab-cxd") == Texts({"ab-cx", "d"}), "ranges and an escaped -");
    check(split("a+ab", "aaab").size() == 1 && split("a++ab", "aaab").empty(), "greedy gives back, possessive does not");
    check(split("(?:a|ab)(?:c|bd)?e?", "abde") == Texts({"abde"}), "alternatives are tried again when what follows fails");
    check(split("\\P{L}+", "a1-b") == Texts({"1-"}), "all but a category");
    check(split("a(?=b)", "aab") == Texts({"a"}), "a look ahead");
    for (const char * pattern : {"a*", "(a", "a)", "(a+)+", "a+?", "\\bx", "(?<!a)b", "[[:alpha:]]", "[a&&b]", "(?i:st)", "(?i:\xC3\xA9)", "a{,3}", "a{2}+", "x|", "\\p{Greek}", ".", "^a", "(?!ab)c", "[]a]", "a**"}) {
        expect_error("TOKENIZER_UNSUPPORTED", "regular expression", [&] { bge::Regex{std::string(pattern)}; });
    }
    expect_error("TOKENIZER_UNSUPPORTED", "takes too long", [] { split("a*a*a*a*b", std::string(10000, 'a')); });
}

// Patterns made of noise end, one way or the other.
void test_random_patterns() {
    std::mt19937 random(13);
    const Texts parts = {"a", "b", "\\s", "\\p{L}", "[^a]", "[ab]", "(?:", "(?i:", "(?!", ")", "|", "?", "+", "*", "{1,3}", "++", " ", "\xE4\xB8\xAD", "-", "\\"};
    int n_legal = 0;
    for (int round = 0; round < 20000; ++round) {
        std::string pattern;
        for (size_t n = 1 + random() % 10; n > 0; --n) pattern += parts[random() % parts.size()];
        try {
            split(pattern, random_text(random, random() % 200, true));
            n_legal++;
        } catch (const bge::Error &) {
        }
    }
    check(n_legal > 1000, "legal ones among random patterns: " + std::to_string(n_legal));
}

void test_damage() {
    const auto with_unigram = [](auto && change) {
        Vocabulary v = unigram_vocabulary();
        TokenizerSpec spec = unigram_spec();
        change(v, spec);
        Tokenizer::create(std::move(v), spec);
    };
    expect_error("MODEL_INVALID", "scores", [&] { with_unigram([](Vocabulary & v, TokenizerSpec &) { v.scores.pop_back(); }); });
    expect_error("MODEL_INVALID", "token_type", [&] { with_unigram([](Vocabulary & v, TokenizerSpec &) { v.types.push_back(1); }); });
    expect_error("MODEL_INVALID", "unknown_token_id", [&] { with_unigram([](Vocabulary & v, TokenizerSpec &) { v.unknown_id = 99; }); });
    expect_error("MODEL_INVALID", "tokens", [&] { with_unigram([](Vocabulary & v, TokenizerSpec &) { v.pieces.clear(); }); });
    expect_error("MODEL_INVALID", "charsmap", [&] { with_unigram([](Vocabulary & v, TokenizerSpec & s) { s.normalizer = {{"precompiled"}}; v.charsmap = "\x08"; }); });
    expect_error("MODEL_INVALID", "charsmap", [&] { with_unigram([](Vocabulary & v, TokenizerSpec & s) { s.normalizer = {{"precompiled"}}; v.charsmap = std::string("\xFF\xFF\0\0aaaabbbb", 12); }); });
    expect_error("MODEL_INVALID", "added token", [&] { with_unigram([](Vocabulary &, TokenizerSpec & s) { s.added_tokens[0].id = 1000; }); });
    expect_error("TOKENIZER_UNSUPPORTED", "nmt", [&] { with_unigram([](Vocabulary &, TokenizerSpec & s) { s.normalizer = {{"nmt"}}; }); });
    expect_error("TOKENIZER_UNSUPPORTED", "fixed_length", [&] { with_unigram([](Vocabulary &, TokenizerSpec & s) { s.pre_tokenizer = {{"fixed_length"}}; }); });
    expect_error("TOKENIZER_UNSUPPORTED", "\\s+", [&] { with_unigram([](Vocabulary &, TokenizerSpec & s) { s.normalizer = {{"replace", "regex", "\\s+", " "}}; }); });
    expect_error("MODEL_INVALID", "merges[0]", [] {
        Vocabulary v = bpe_vocabulary();
        v.merges = {"a nothing"};
        Tokenizer::create(std::move(v), bpe_spec());
    });
}

// Charsmaps made of noise must neither crash nor leave the array.
void test_random_charsmaps() {
    std::mt19937 random(3);
    for (int round = 0; round < 300; ++round) {
        Vocabulary v = unigram_vocabulary();
        TokenizerSpec spec = unigram_spec();
        spec.normalizer = {{"precompiled"}};
        const uint32_t n_units = 1 + random() % 600;
        const uint32_t size = n_units * 4;
        v.charsmap.assign(reinterpret_cast<const char *>(&size), 4);
        for (uint32_t i = 0; i < n_units; ++i) {
            // Half of the units get the label that their place is reached by.
            const uint32_t unit = random() % 2 ? random() : (i & 0xFF) | (random() % 2) << 8 | (random() % n_units) << 10;
            v.charsmap.append(reinterpret_cast<const char *>(&unit), 4);
        }
        v.charsmap += std::string("b\0\xC3\xA9\0aa\0", 8);
        const auto tokenizer = Tokenizer::create(std::move(v), spec);
        for (int i = 0; i < 20; ++i) tokenizer->encode(random_text(random, 100, true));
    }
}

// Vocabularies whose pieces are not UTF-8.
void test_random_pieces() {
    std::mt19937 random(9);
    for (int round = 0; round < 100; ++round) {
        for (Kind kind : kinds()) {
            if (kind.spec.normalizer[0][0] == "nfc") continue; // pieces of byte-level BPE are characters
            const size_t n_changes = kind.vocabulary.merges.empty() ? 6 : 0;
            for (size_t i = 0; i < n_changes; ++i) kind.vocabulary.pieces[3 + random() % (kind.vocabulary.pieces.size() - 3)] = random_text(random, random() % 5, true).substr(0, random() % 5);
            for (float & score : kind.vocabulary.scores) {
                if (random() % 10 == 0) score = random() % 2 ? INFINITY : -INFINITY;
            }
            const auto tokenizer = Tokenizer::create(kind.vocabulary, kind.spec);
            for (int i = 0; i < 5; ++i) {
                tokenizer->encode(random_text(random, 300, true));
                tokenizer->encode(random_text(random, 9000, true), {true, 50});
            }
        }
    }
}

} // namespace

int main() {
    test_special_tokens();
    test_broken_utf8();
    test_random_bytes();
    test_early_stop();
    test_long_words();
    test_long_bpe_segments();
    test_damage();
    test_random_charsmaps();
    test_random_pieces();
    test_regex();
    test_random_patterns();
    if (failures == 0) std::printf("tokenizer: all tests passed\n");
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

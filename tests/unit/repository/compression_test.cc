#include "daemon/repository/compression.h"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <zstd.h>

#include "tests/unit/repository/fixture_repository.h"

namespace backup {
namespace {

Bytes text_of(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::uint8_t>("abcdefgh \n"[i * i % 10]);
    return bytes;
}

// Without content size, as streaming writers make it.
Bytes streamed(ByteView plain, bool checksum = false) {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0);
    Bytes out(ZSTD_compressBound(plain.size()));
    out.resize(ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size()));
    ZSTD_freeCCtx(context);
    return out;
}

Bytes skippable(std::string_view content) {
    Bytes frame = to_bytes(std::string_view("\x50\x2a\x4d\x18", 4));
    frame.resize(8);
    store_le32(frame.data() + 4, static_cast<std::uint32_t>(content.size()));
    append(frame, as_bytes(content));
    return frame;
}

Bytes marked(ByteView frames) {
    Bytes file{std::uint8_t{2}};
    append(file, frames);
    return file;
}

TEST(Compression, BlobsOfEverySizeAndLevelComeBack) {
    for (int level : {1, 3, 7, 11})
        for (std::size_t size : {0u, 1u, 255u, 256u, 1025u, 524'288u, 3'000'000u}) {
            Bytes plain = text_of(size);
            Bytes out = to_bytes("before");
            compress_into(out, plain, level);
            ASSERT_EQ(as_text(out).substr(0, 6), "before");
            ByteView frame = ByteView(out).subspan(6);
            EXPECT_EQ(ZSTD_getFrameContentSize(frame.data(), frame.size()), size)
                << "content size is on";
            auto back = decompress_blob(frame, static_cast<std::uint32_t>(size));
            ASSERT_TRUE(back.ok()) << size;
            EXPECT_TRUE(back.value() == plain);
        }
}

TEST(Compression, OnlySmallBlobsOfTheDefaultLevelAreCompressedFaster) {
    EXPECT_EQ(blob_compression_level(kDefaultCompressionLevel, 1), kSmallBlobLevel);
    EXPECT_EQ(blob_compression_level(kDefaultCompressionLevel, kSmallBlobBytes), kSmallBlobLevel);
    EXPECT_EQ(blob_compression_level(kDefaultCompressionLevel, kSmallBlobBytes + 1),
              kDefaultCompressionLevel);
    for (int chosen : {1, 11}) EXPECT_EQ(blob_compression_level(chosen, 100), chosen);
}

TEST(Compression, ALengthThatIsNotTheTrueOneIsCorrupt) {
    Bytes plain = text_of(1000), frame;
    compress_into(frame, plain, 3);
    for (std::uint32_t length : {0u, 999u, 1001u, 100'000u, 4'000'000'000u}) {
        auto back = decompress_blob(frame, length);
        ASSERT_FALSE(back.ok()) << length;
        EXPECT_EQ(back.error().kind(), ErrorKind::corrupt);
    }
}

TEST(Compression, UnusualFramesAreReadAsBlobs) {
    Bytes plain = text_of(5000);
    Bytes two = streamed(ByteView(plain).first(2000));
    append(two, skippable("note"));
    append(two, streamed(ByteView(plain).subspan(2000), true));
    Bytes leading = skippable("note");
    append(leading, streamed(plain));
    for (const Bytes& frames : {streamed(plain), streamed(plain, true), two, leading}) {
        auto back = decompress_blob(frames, 5000);
        ASSERT_TRUE(back.ok());
        EXPECT_TRUE(back.value() == plain);
        auto file = decode_unpacked(marked(frames), 2);
        ASSERT_TRUE(file.ok());
        EXPECT_TRUE(file.value() == plain);
    }
}

TEST(Compression, GarbageTruncationAndDamageAreCorrupt) {
    Bytes plain = text_of(5000);
    Bytes frame = streamed(plain, true);
    Bytes trailing = frame;
    append(trailing, as_bytes("garbage"));
    Bytes damaged = frame;
    damaged[damaged.size() - 1] ^= 1;  // of the checksum
    std::vector<Bytes> cases{trailing, damaged, to_bytes("garbage"), Bytes{}};
    for (std::size_t cut = 1; cut < frame.size(); ++cut)
        cases.push_back(to_bytes(ByteView(frame).first(cut)));
    for (const Bytes& bytes : cases) {
        EXPECT_FALSE(decompress_blob(bytes, 5000).ok());
        if (!bytes.empty()) {
            EXPECT_FALSE(decode_unpacked(marked(bytes), 2).ok());
        }
    }
}

// `frames` given in pieces of `fed` bytes.
Result<> decompress_pieces(ByteView frames, MutableByteView piece,
                           const std::function<void(ByteView)>& each, std::size_t fed = SIZE_MAX) {
    PieceDecompressor pieces(piece, each);
    while (!frames.empty()) {
        const std::size_t size = std::min(fed, frames.size());
        TRY(pieces.feed(frames.first(size)));
        frames = frames.subspan(size);
    }
    return pieces.finish();
}

TEST(Compression, PiecesAreTheWholeAndTheirLackIsCorrupt) {
    Bytes plain = text_of(300'000), packed;
    compress_into(packed, plain, 3);
    Bytes two = streamed(ByteView(plain).first(200'000));
    append(two, skippable("note"));
    append(two, streamed(ByteView(plain).subspan(200'000), true));
    for (const Bytes& frames : {packed, streamed(plain), two}) {
        for (std::size_t size : {std::size_t{1000}, std::size_t{100'000}, std::size_t{131'072},
                                 std::size_t{300'000}, std::size_t{1'000'000}}) {
            Bytes piece(size), whole;
            auto collect = [&](ByteView part) {
                EXPECT_TRUE(part.size() == size || whole.size() + part.size() == plain.size());
                append(whole, part);
            };
            for (std::size_t fed : {std::size_t{1}, std::size_t{999}, frames.size()}) {
                whole.clear();
                EXPECT_TRUE(decompress_pieces(frames, piece, collect, fed).ok()) << size;
                EXPECT_TRUE(whole == plain) << size << " out of pieces of " << fed;
            }
        }
    }
    // Cut anywhere, also where the output so far fills a piece.
    for (std::size_t size : {std::size_t{1000}, std::size_t{131'072}, std::size_t{300'000}}) {
        Bytes piece(size);
        for (std::size_t cut = 0; cut < packed.size(); cut += 1 + packed.size() / 200) {
            auto done = decompress_pieces(ByteView(packed).first(cut), piece, [](ByteView) {});
            ASSERT_FALSE(done.ok()) << cut;
            EXPECT_EQ(done.error().kind(), ErrorKind::corrupt) << cut;
        }
        auto last = ByteView(packed).first(packed.size() - 1);
        EXPECT_FALSE(decompress_pieces(last, piece, [](ByteView) {}).ok());
        Bytes trailing = packed;
        append(trailing, as_bytes("garbage"));
        EXPECT_FALSE(decompress_pieces(trailing, piece, [](ByteView) {}).ok());
    }
}

TEST(Compression, AfterAnErrorTheNextCallWorks) {
    Bytes plain = text_of(5000), frame;
    compress_into(frame, plain, 3);
    EXPECT_FALSE(decode_unpacked(marked(ByteView(frame).first(frame.size() / 2)), 2).ok());
    EXPECT_TRUE(decode_unpacked(marked(frame), 2).value() == plain);
    EXPECT_FALSE(decompress_blob(ByteView(frame).first(20), 5000).ok());
    EXPECT_TRUE(decompress_blob(frame, 5000).value() == plain);
}

TEST(Compression, UnpackedFilesObeyTheLimit) {
    Bytes plain(1'000'000, std::uint8_t{'x'});
    for (const Bytes& frames : {streamed(plain), [&] {
                                    Bytes frame;
                                    compress_into(frame, plain, 3);
                                    return frame;
                                }()}) {
        EXPECT_TRUE(decode_unpacked(marked(frames), 2, 1'000'000).ok());
        auto refused = decode_unpacked(marked(frames), 2, 999'999);
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().kind(), ErrorKind::corrupt);
    }
    EXPECT_FALSE(decode_unpacked(to_bytes("{\"long\":1}"), 2, 5).ok());
}

TEST(Compression, TheFirstByteTellsWhatAnUnpackedFileIs) {
    EXPECT_TRUE(decode_unpacked(Bytes{}, 2).value().empty());
    EXPECT_EQ(as_text(decode_unpacked(to_bytes("{}"), 2).value()), "{}");
    EXPECT_EQ(as_text(decode_unpacked(to_bytes("[]"), 2).value()), "[]");
    for (const char* text : {"\x01{}", " {}", "\"text\"", "\x03{}", "null"})
        EXPECT_FALSE(decode_unpacked(to_bytes(text), 2).ok()) << text;
    EXPECT_EQ(as_text(decode_unpacked(to_bytes("\x02{}"), 1).value()), "\x02{}")
        << "version 1 interprets nothing";
}

TEST(Compression, UnpackedFilesComeBackInBothVersions) {
    Bytes json = text_of(3000);
    Bytes second = encode_unpacked(json, 2);
    EXPECT_EQ(second[0], 2);
    EXPECT_LT(second.size(), json.size());
    EXPECT_TRUE(decode_unpacked(second, 2).value() == json);
    EXPECT_TRUE(encode_unpacked(json, 1) == json);
}

TEST(Compression, EveryThreadHasItsOwnContexts) {
    std::atomic<int> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (int worker = 0; worker < 4; ++worker)
            threads.emplace_back([&, worker] {
                for (std::size_t i = 0; i < 100; ++i) {
                    Bytes plain = text_of(i * 301), frame;
                    compress_into(frame, plain, worker + 1);
                    auto back = decompress_blob(frame, static_cast<std::uint32_t>(plain.size()));
                    if (!back.ok() || back.value() != plain) ++wrong;
                }
            });
    }
    EXPECT_EQ(wrong, 0);
}

TEST(Compression, FilesOfResticUnpackToTheExpectedText) {
    for (const std::string& name : FixtureRepository::names()) {
        FixtureRepository repository(name);
        for (const char* type : {"snapshots", "index"}) {
            const auto& files =
                repository.expected()[type == std::string("index") ? "indexes" : "snapshots"];
            for (const auto& [id, file] : files.items()) {
                std::string path = std::string(type) + "/" + id;
                EXPECT_EQ(content_id(repository.file(path)).hex(), id) << "the name is the hash";
                std::string text(as_text(repository.unpacked(path)));
                if (text.ends_with('\n')) text.pop_back();  // of indexes
                std::string expected = file["json"];
                if (expected.ends_with('\n')) expected.pop_back();
                EXPECT_EQ(text, expected) << path;
            }
        }
    }
}

}  // namespace
}  // namespace backup

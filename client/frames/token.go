package frames

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/framedb/framedb/client/wire"
)

// TokenLife is for how long a token is remembered, as the .lua files have it: the
// longest time in which a call may be repeated.
const TokenLife = 10 * time.Minute

// TokenPrefix begins the Redis key that remembers the answer to a batch for ten
// minutes: "framedb:token:<hash>", with the hash of the token and the batch. The
// value is the answer as framedb.lua describes it.
const TokenPrefix = "framedb:token:"

// tokenKey is the Redis key that remembers the answer to a batch: these groups,
// with their sizes as the caller named them, and keys as they are sent. It is ""
// without a token. The hash (XXH3, 128 bits: against accidents) keeps apart what
// different callers, or one by mistake, ask under the same token.
func tokenKey(token wire.RequestID, groups []batchGroup, keys []byte) string {
	if token == "" {
		return ""
	}
	b := appendText(nil, string(token))
	for _, g := range groups {
		b = binary.AppendUvarint(b, uint64(g.n))
		b = appendKind(b, g.by, g.sizes)
	}
	hash := xxh3.New()
	hash.Write(b)
	hash.Write(keys)
	sum := hash.Sum128().Bytes()
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// tokenKeyOf is the same for what another function than decrement is asked,
// which all of its keys and arguments say.
func tokenKeyOf(token wire.RequestID, f function, keys, args []string) string {
	if token == "" {
		return ""
	}
	b := appendText(appendText(nil, string(token)), string(f))
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, s := range slices.Concat(keys, args) {
		b = appendText(b, s)
	}
	sum := xxh3.Hash128(b).Bytes()
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// appendKind appends what the members of a group have in common: no two kinds
// give the same bytes.
func appendKind(b []byte, by int64, sizes []string) []byte {
	b = binary.AppendVarint(b, by)
	b = binary.AppendUvarint(b, uint64(len(sizes)))
	for _, s := range sizes {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

package server

import (
	"encoding/base64"
	"sort"

	"google.golang.org/protobuf/proto"
)

const (
	defaultPage = 100
	maxPage     = 1000
	// pageBytes ends a page early: specifications can be large.
	pageBytes = 1 << 20
)

// item is an entry of a list with the key that orders it.
type item[T proto.Message] struct {
	key   string
	value T
}

// page is the part of a list behind a token, which is the key of the last entry
// before: entries that come or go in between neither repeat nor hide others.
func page[T proto.Message](all []item[T], descending bool, size int32, token string) (values []T, next string, err error) {
	after, err := pageStart(size, token)
	if err != nil {
		return nil, "", err
	}
	before := func(a, b string) bool { return (a < b) != descending && a != b }
	sort.SliceStable(all, func(i, j int) bool { return before(all[i].key, all[j].key) })
	first := 0
	if token != "" {
		first = sort.Search(len(all), func(i int) bool { return before(after, all[i].key) })
	}
	limit := min(int(size), maxPage)
	if size == 0 {
		limit = defaultPage
	}
	bytes := 0
	for i := first; i < len(all); i++ {
		bytes += proto.Size(all[i].value)
		if len(values) == limit || (len(values) > 0 && bytes > pageBytes) {
			return values, base64.RawURLEncoding.EncodeToString([]byte(all[i-1].key)), nil
		}
		values = append(values, all[i].value)
	}
	return values, "", nil
}

func pageStart(size int32, token string) (after string, err error) {
	if size < 0 {
		return "", invalid("page_size", "%d is negative", size)
	}
	key, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(token) > 512 {
		return "", invalid("page_token", "not a token of an earlier answer")
	}
	return string(key), nil
}

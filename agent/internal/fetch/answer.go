package fetch

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// accept makes of an answer bytes that begin at the offset. A server that begins
// elsewhere than it was asked to, since it knows no ranges or has something newer,
// is read from up to there: if that is something else, its digest is, too.
func (s *source) accept(resp *http.Response, offset int64) error {
	begin, size, err := placed(resp)
	if err != nil {
		return err
	}
	if begin > offset {
		return fmt.Errorf("%w: the server answered with the bytes from %d on, and was asked for those from %d on", ErrUnusable, begin, offset)
	}
	if s.etag == "" {
		s.etag = strong(resp.Header.Get("ETag"))
	}
	s.at, s.size = begin, size
	if size >= 0 && offset > size {
		return fmt.Errorf("%w: there are %d bytes, and %d were there before", ErrUnusable, size, offset)
	}
	if _, err = io.CopyN(io.Discard, s, offset-begin); errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there are fewer than the %d bytes that were there before", ErrUnusable, offset)
	}
	return err
}

// placed is where an answer's bytes are among all of them, and how many those are; -1
// when it does not say.
func placed(resp *http.Response) (begin, size int64, err error) {
	switch status := resp.StatusCode; {
	case status == http.StatusOK:
		return 0, resp.ContentLength, nil
	case status == http.StatusPartialContent:
		return contentRange(resp.Header.Get("Content-Range"))
	case status == http.StatusNotFound, status == http.StatusGone:
		return 0, 0, answered(ErrNotThere, status)
	case status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return 0, 0, answered(ErrPassing, status)
	default:
		return 0, 0, answered(ErrUnusable, status)
	}
}

// answered leaves out the server's own words.
func answered(is error, status int) error {
	hint := ""
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		hint = ": it wants to know who asks, or the ticket or the URL's signature has expired"
	}
	return fmt.Errorf("%w: the server answers %d %s%s", is, status, http.StatusText(status), hint)
}

// contentRange reads "bytes BEGIN-END/SIZE" (RFC 9110, section 14.4).
func contentRange(text string) (begin, size int64, err error) {
	rest, ok := strings.CutPrefix(text, "bytes ")
	span, all, cut := strings.Cut(rest, "/")
	first, last, dash := strings.Cut(span, "-")
	begin, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := strconv.ParseInt(all, 10, 64)
	if !ok || !cut || !dash || err1 != nil || err2 != nil || err3 != nil || begin < 0 || end < begin || end >= size {
		return 0, 0, fmt.Errorf("%w: the server answers with the range %.80q", ErrUnusable, text)
	}
	return begin, size, nil
}

// strong is an entity tag that changes with every byte; empty for others (RFC 9110,
// section 8.8.1).
func strong(etag string) string {
	if strings.HasPrefix(etag, `"`) && len(etag) <= 1<<10 {
		return etag
	}
	return ""
}

package body_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flyext/flyext/internal/body"
)

func TestRead(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	text := func(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] }
	broken := errors.New("broken")
	for _, test := range []struct {
		name   string
		body   io.Reader // nil: none
		length int64     // as the request says
		want   string
		err    error
	}{
		{"none", nil, 0, "", nil},
		{"empty", strings.NewReader(""), 0, "", nil},
		{"as long as it says", strings.NewReader(text(436)), 436, text(436), nil},
		{"longer than what is allocated first", strings.NewReader(text(40_000)), 40_000, text(40_000), nil},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(text(700))), 700, text(700), nil},
		{"its end together with its last bytes", iotest.DataErrReader(strings.NewReader(text(436))), 436, text(436), nil},
		{"of unknown length", strings.NewReader(text(5000)), -1, text(5000), nil},
		{"shorter than it says", strings.NewReader(text(10)), 436, text(10), nil},
		{"longer than it says", strings.NewReader(text(5000)), 10, text(5000), nil},
		{"as long as it may be", strings.NewReader(text(limit)), limit, text(limit), nil},
		{"as long as it may be, of unknown length", strings.NewReader(text(limit)), -1, text(limit), nil},
		{"says that it is too long", iotest.ErrReader(errors.New("it was read")), limit + 1, "", body.ErrTooLarge},
		{"too long, of unknown length", strings.NewReader(text(limit + 1)), -1, "", body.ErrTooLarge},
		{"too long, and says that it is not", strings.NewReader(text(limit + 1)), 10, "", body.ErrTooLarge},
		{"breaks off", io.MultiReader(strings.NewReader(text(10)), iotest.ErrReader(broken)), 436, "", broken},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{ContentLength: test.length}
			if test.body != nil {
				r.Body = io.NopCloser(test.body)
			}
			got, err := body.Read(nil, r, limit, nil)
			if !errors.Is(err, test.err) || string(got) != test.want {
				t.Errorf("got %d bytes and %v, want %d and %v", len(got), err, len(test.want), test.err)
			}
		})
	}
}

func TestNoBody(t *testing.T) {
	t.Parallel()
	for _, none := range []io.ReadCloser{nil, http.NoBody} {
		if got, err := body.Read(nil, &http.Request{Body: none}, 1, nil); got != nil || err != nil {
			t.Errorf("%v: got %v, %v", none, got, err)
		}
	}
}

// What is allocated is what was sent, a few times at most, and no more than what
// was announced.
func TestRoom(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		sent      int
		announced int64
		most      int // that may be allocated in the end
	}{
		{"announced and sent", 1 << 20, 1 << 20, 1<<20 + 1},
		{"much announced and little sent", 20_000, 1 << 40, 80_000},
		{"nothing announced", 20_000, -1, 80_000},
		{"less announced than sent", 20_000, 10, 80_000},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{ContentLength: test.announced, Body: io.NopCloser(bytes.NewReader(make([]byte, test.sent)))}
			got, err := body.Read(nil, r, 1<<41, nil)
			if err != nil || len(got) != test.sent || cap(got) > test.most {
				t.Errorf("%d bytes in room for %d, want %d in %d at most: %v", len(got), cap(got), test.sent, test.most, err)
			}
		})
	}
}

// The length that a stranger announces costs nothing.
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	allocated := testing.AllocsPerRun(10, func() {
		r := &http.Request{ContentLength: 1 << 40, Body: io.NopCloser(bytes.NewReader([]byte("{}")))}
		got, err := body.Read(nil, r, 1<<41, nil)
		if err != nil || cap(got) > 32<<10 {
			t.Errorf("%d bytes of memory for two, %v", cap(got), err)
		}
	})
	if allocated > 10 {
		t.Errorf("%v allocations", allocated)
	}
}

// A server closes the connection of a body that nobody reads to its end.
func TestServerIsTold(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := body.Read(w, r, 10, nil); !errors.Is(err, body.ErrTooLarge) {
			t.Errorf("the error is %v", err)
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	defer server.Close()
	chunked := io.MultiReader(strings.NewReader(strings.Repeat("x", 100_000))) // whose length is not known
	answer, err := server.Client().Post(server.URL, "text/plain", chunked)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if !answer.Close {
		t.Error("the connection stays open")
	}
}

// A body takes the room that there is, if it is enough for it and for its end to
// show.
func TestGivenRoom(t *testing.T) {
	t.Parallel()
	const text = "0123456789"
	for _, test := range []struct {
		name string
		room int
		took bool
	}{
		{"none", 0, false},
		{"as long as the body", len(text), false},
		{"one more", len(text) + 1, true},
		{"much", 1 << 20, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			room := append(make([]byte, 0, test.room), "before"[:min(6, test.room)]...)
			r := &http.Request{ContentLength: int64(len(text)), Body: io.NopCloser(strings.NewReader(text))}
			got, err := body.Read(nil, r, 100, room)
			if string(got) != text || err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
			if took := cap(got) == test.room; took != test.took {
				t.Errorf("%d bytes for the body, of %d that there were", cap(got), test.room)
			}
		})
	}
}

package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The memory is bounded, for any number of requests and any size of the answers.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	t.Run("extensions", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		for i := range 100 {
			w.provision(fmt.Sprint("ext", i))
		}
		rec := w.do(formRequest("/extensions", url.Values{"id": {"more"}}))
		if rec.Code != http.StatusUnprocessableEntity || !strings.Contains(rec.Body.String(), "There are 100 extensions already.") {
			t.Errorf("the 101st: %d", rec.Code)
		}
		w.provision("ext7") // the same extension, not another one
		w.post("/extensions/1/deprovision", nil)
		w.provision("more")
		if rec := w.get("/extensions/1"); rec.Code != http.StatusNotFound {
			t.Errorf("the deprovisioned one: %d", rec.Code)
		}
	})
	t.Run("history", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		path := w.provision("ext1")
		for range 120 {
			w.post(path+"/fetch", nil)
		}
		if got := strings.Count(w.page(path), `<li id="r`); got != 100 {
			t.Errorf("%d records, want the last 100", got)
		}
		if rec := w.get("/wire/2/answer"); rec.Code != http.StatusNotFound {
			t.Errorf("the bytes of a record that is gone: %d", rec.Code)
		}
	})
	t.Run("exchanges", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, newLogjam().handler(t, providerBase, ""))
		for e := range 4 {
			path := w.provision(fmt.Sprint("ext", e))
			for range 80 {
				w.post(path+"/fetch", nil)
			}
		}
		w.wantAll(w.page("/extensions/1"), "Its bytes are no longer kept.")
		if rec := w.get("/wire/2/answer"); rec.Code != http.StatusNotFound {
			t.Errorf("the first of 324 exchanges: %d", rec.Code)
		}
	})
	t.Run("deep JSON", func(t *testing.T) {
		t.Parallel()
		for _, depth := range []int{40, 9000} { // a depth of 40 does not show a quadratic cost
			answer := `{"id":"x","config":{},"deep":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`
			w := newWorld(t, answering(200, answer))
			w.wantAll(w.page(w.provision("ext1")), fmt.Sprintf("As it was sent, %d bytes:", len(answer)))
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, answering(200, `{"id":"x","config":{},"padding":"`+strings.Repeat("x", 1000<<10)+`"}`))
		path := w.provision("ext1")
		for range 40 {
			w.post(path+"/fetch", nil)
		}
		page := w.page(path)
		w.wantAll(page, "Its bytes are no longer kept.")
		if len(page) > 4<<20 {
			t.Errorf("the page has %d bytes", len(page))
		}
		if got := w.get("/wire/42/answer").Body.Len(); got < 1000<<10 {
			t.Errorf("%d bytes of the last answer", got)
		}
	})
}

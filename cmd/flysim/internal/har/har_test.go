package har

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/flyext/flyext/flytest"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", `{"id":"ü"}`, "\xff\x00"} {
		u, _ := url.Parse("https://logjam.io/flyio/extensions?a=b+c")
		e := flytest.Exchange{
			Request:     &http.Request{Method: "POST", URL: u, Header: http.Header{"X-Signature": {"aa"}, "Accept": {"a", "b"}}},
			RequestBody: []byte(body), Duration: time.Second,
			Response: &http.Response{StatusCode: 401, Proto: "HTTP/1.1", Header: http.Header{"Content-Type": {"text/plain"}}}, ResponseBody: []byte(body),
		}
		text, err := Encode([]flytest.Exchange{{Request: &http.Request{Method: "GET", URL: u}}, e}, "v1", time.Unix(0, 0).UTC())
		if err != nil {
			t.Fatal(err)
		}
		all, err := Decode(text)
		if err != nil || len(all) != 2 {
			t.Fatalf("decoded %d requests, %v, want 2", len(all), err)
		}
		got := all[1]
		if got.Method != "POST" || got.URL != u.String() || got.Header.Get("X-Signature") != "aa" || len(got.Header["Accept"]) != 2 || string(got.Body) != body {
			t.Errorf("the request is %+v", got)
		}
		var f file
		if err := json.Unmarshal(text, &f); err != nil || f.Log.Version != "1.2" || f.Log.Entries[1].Response.Status != 401 || f.Log.Entries[0].Response.Status != 0 {
			t.Errorf("the file is %s, %v", text, err)
		}
	}
	for _, text := range []string{"", "{", "{}", `{"log":{"entries":[{"request":{"postData":{"text":"!","encoding":"base64"}}}]}}`} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q is accepted, want an error", text)
		}
	}
}

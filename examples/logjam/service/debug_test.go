package service

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDebug(t *testing.T) {
	t.Parallel()
	h := debugRoutes()
	get := func(target, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	var v vitals
	if err := json.Unmarshal(get("/debug/vitals?collect", "127.0.0.1:6060").Body.Bytes(), &v); err != nil || v.Goroutines == 0 || v.HeapBytes == 0 {
		t.Errorf("got vitals %+v, %v", v, err)
	}
	if w := get("/debug/pprof/goroutine?debug=1", "localhost:6060"); !strings.Contains(w.Body.String(), "TestDebug") {
		t.Errorf("got %d %.200s", w.Code, w.Body)
	}
	// The command line may contain the database's password.
	for _, target := range []string{"/debug/pprof/cmdline", "/debug/pprof/", "/debug/vars", "/"} {
		if w := get(target, "127.0.0.1:6060"); w.Code != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404: %.200s", target, w.Code, w.Body)
		}
	}
	for _, host := range []string{"attacker.example:6060", "attacker.example", "", "127.0.0.1.attacker.example:6060"} {
		if w := get("/debug/vitals", host); w.Code != http.StatusForbidden {
			t.Errorf("host %q: got %d, want 403: %s", host, w.Code, w.Body)
		}
	}
}

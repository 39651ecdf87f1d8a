package service

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A vitals answer helps an operator find leaks of goroutines or memory.
type vitals struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"` // objects on the heap, including garbage
}

// debugRoutes serves profiles and figures to the machine's operator. It leaves out
// the command line, which net/http/pprof and expvar serve, because it may contain
// the database's password.
func debugRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/vitals", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("collect") { // then HeapBytes has little garbage
			debug.FreeOSMemory()
		}
		heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(heap)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(vitals{runtime.NumGoroutine(), heap[0].Value.Uint64()})
	})
	for _, profile := range []string{"goroutine", "heap", "mutex", "block"} {
		mux.Handle("GET /debug/pprof/"+profile, pprof.Handler(profile))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// DNS rebinding: another site's host name can resolve to this machine.
		if !isLoopback(r.Host) {
			http.Error(w, "Use a loopback address, such as 127.0.0.1.", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serveDebug serves the debug routes until the listener is closed.
func serveDebug(listener net.Listener, log *slog.Logger) {
	server := newHTTPServer(debugRoutes(), log)
	server.Serve(listener) // it always returns an error
}

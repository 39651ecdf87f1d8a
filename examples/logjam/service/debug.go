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

// A vitals answer tells an operator whether Logjam keeps what it should have let
// go.
type vitals struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"` // of objects, those that nobody needs any more included
}

// debugRoutes is what only the machine's own operator may see. It leaves out what
// net/http/pprof and expvar tell beside: the command line, in which the database's
// password may be.
func debugRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/vitals", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("collect") { // and so what is left is needed
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
		// A page elsewhere may have its own name lead to this machine.
		if !isLoopback(r.Host) {
			http.Error(w, "This is for the machine itself.", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// serveDebug serves them until the listener is closed.
func serveDebug(listener net.Listener, log *slog.Logger) {
	server := newHTTPServer(debugRoutes(), log)
	server.Serve(listener) // which always ends with an error
}

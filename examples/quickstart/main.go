// Logjam is a whole provider. Copy it, and put a database where its map is.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"log"
	"log/slog"
	"net/http"
	"os"
	"sync"

	"github.com/flyext/flyext"
)

type logjam struct{ streams sync.Map } // *flyext.Extension, by the id that Fly.io gave it

func (l *logjam) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	stream := &flyext.Extension{Name: r.Name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": rand.Text()}}
	first, _ := l.streams.LoadOrStore(r.ID, stream) // asked again, the same secrets
	return first.(*flyext.Extension), nil
}

func (l *logjam) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	stream, err := l.Fetch(ctx, id)
	if name, ok := r.Name.Get(); ok && err == nil {
		stream.Name = name // calls for one id never overlap
	}
	return stream, err
}

func (l *logjam) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	if stream, ok := l.streams.Load(id); ok {
		return stream.(*flyext.Extension), nil
	}
	return nil, flyext.NotFound("There is no such stream.")
}

func (l *logjam) Deprovision(_ context.Context, id string) error {
	l.streams.Delete(id) // again is a success
	return nil
}

func main() {
	port := cmp.Or(os.Getenv("PORT"), "8080")
	provider, err := flyext.New(&logjam{}, flyext.Config{
		BaseURL:  "http://localhost:" + port + "/flyio", // as Fly.io calls it
		Verifier: flyext.XSignature(os.Getenv("FLYIO_SIGNING_SECRET")),
		Logger:   slog.Default(), // says why a request is refused
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/flyio/", provider)
	log.Print("Logjam is at http://localhost:", port, "/flyio")
	log.Fatal(http.ListenAndServe("localhost:"+port, nil))
}

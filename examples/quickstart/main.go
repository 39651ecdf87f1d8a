// Logjam is a whole provider. Copy it, and put a database where its map is.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/flyext/flyext"
)

// By the id that Fly.io gave it, a stream is an *flyext.Extension or, once it is deleted, an *flyext.Error.
type logjam struct{ streams sync.Map }

func (l *logjam) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	stream := &flyext.Extension{Name: r.Name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": rand.Text()}}
	l.streams.LoadOrStore(r.ID, stream) // asked again, the same secrets
	return l.Fetch(ctx, r.ID)
}

func (l *logjam) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	stream, err := l.Fetch(ctx, id)
	if name, ok := r.Name.Get(); ok && err == nil {
		stream.Name = name // calls for one id never overlap
	}
	return stream, err
}

func (l *logjam) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	found, _ := l.streams.Load(id)
	if stream, ok := found.(*flyext.Extension); ok {
		return stream, nil
	}
	deleted, _ := found.(*flyext.Error)
	return nil, cmp.Or(deleted, flyext.NotFound("There is no such stream."))
}

func (l *logjam) Deprovision(_ context.Context, id string) error {
	l.streams.Store(id, flyext.Gone("The stream was deleted.")) // again is a success, and a late retry of POST makes nothing
	return nil
}

func main() {
	port := cmp.Or(os.Getenv("PORT"), "8080")
	provider, err := flyext.New(&logjam{}, flyext.Config{
		BaseURL:  "http://localhost:" + port + "/flyio", // as Fly.io calls it
		Verifier: flyext.XSignature(os.Getenv("FLYIO_SIGNING_SECRET")),
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/flyio/", provider)
	log.Print("Logjam is at http://localhost:", port, "/flyio")
	log.Fatal(http.ListenAndServe("localhost:"+port, nil))
}

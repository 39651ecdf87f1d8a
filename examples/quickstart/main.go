// Logjam is a complete provider. Copy it and replace its map with a database.
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

// logjam maps Fly.io's id of a stream to an *flyext.Extension or, once the stream is deleted, an *flyext.Error.
type logjam struct{ streams sync.Map }

func (l *logjam) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	stream := &flyext.Extension{Name: r.Name, OrganizationID: r.OrganizationID, Secrets: flyext.Secrets{"LOGJAM_TOKEN": rand.Text()}}
	found, _ := l.streams.LoadOrStore(r.ID, stream) // a retry returns the same secrets
	if stream, ok := found.(*flyext.Extension); ok && stream.OrganizationID != r.OrganizationID {
		return nil, flyext.Conflict("The stream belongs to another organization.")
	}
	return l.Fetch(ctx, r.ID)
}

func (l *logjam) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	stream, err := l.Fetch(ctx, id)
	if name, ok := r.Name.Get(); ok && err == nil {
		stream.Name = name // safe: flyext serializes calls with the same id
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
	l.streams.Store(id, flyext.Gone("The stream was deleted.")) // so a late retry of POST creates nothing
	return nil
}

func main() {
	port, secret := cmp.Or(os.Getenv("PORT"), "8080"), os.Getenv("FLYIO_SIGNING_SECRET")
	baseURL := "http://localhost:" + port + "/flyio" // the public URL that Fly.io calls
	provider, err := flyext.New(&logjam{}, flyext.Config{BaseURL: baseURL, Verifier: flyext.XSignature(secret)})
	if err != nil {
		log.Fatal(err)
	}
	log.Print("Logjam is at ", baseURL)
	log.Fatal(http.ListenAndServe("localhost:"+port, provider))
}

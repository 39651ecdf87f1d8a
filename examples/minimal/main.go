package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/flyext/flyext"
)

type logjam struct{}

func (logjam) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	return &flyext.Extension{Secrets: flyext.Secrets{"LOGJAM_URL": "https://" + r.ID + ".logjam.io"}}, nil
}

func (logjam) Update(_ context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	return nil, flyext.Unsupported("A stream cannot be changed yet.")
}

func main() {
	secret := os.Getenv("FLYIO_SIGNING_SECRET")
	config := flyext.Config{BaseURL: "http://localhost:8080/flyio", Verifier: flyext.XSignature(secret)}
	provider, err := flyext.New(logjam{}, config)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "localhost:8080", Handler: provider, ReadTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

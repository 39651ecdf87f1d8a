// Logjam is a small Fly.io extension provider that sells log streams. To write
// your own provider, copy from package service.
//
// Without configuration, Logjam runs a demo: it starts a Fly.io simulator and
// prints each request and answer.
//
//	go run ./examples/logjam
//
// With FLYIO_SIGNING_SECRET, the secret that Fly.io signs requests with, Logjam
// serves Fly.io:
//
//	FLYIO_SIGNING_SECRET=… go run ./examples/logjam -base-url https://logjam.example/flyio
//
// FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET turn on the dashboard, where Fly.io's
// customers sign in. FLYIO_WEBHOOK_SECRET turns on webhooks, which tell Fly.io
// about changes made on the dashboard. The flag -webhooks list prints the webhooks
// that failed.
//
// This program keeps its data in SQLite and runs on one machine. To run on several
// machines, use examples/logjam/machines: the same service with PostgreSQL and
// Redis. Only that program compiles their drivers.
package main

import "github.com/flyext/flyext/examples/logjam/service"

func main() { service.Main(nil) }

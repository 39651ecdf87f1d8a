// Logjam is a small Fly.io extension provider: it sells log streams. Copy from
// package service what a provider of your own needs.
//
// Without configuration it runs against a simulated Fly.io and shows each
// request and answer:
//
//	go run ./examples/logjam
//
// With the secret that Fly.io signs with, it is a server:
//
//	FLYIO_SIGNING_SECRET=… go run ./examples/logjam -base-url https://logjam.example/flyio
//
// With FLYIO_CLIENT_ID and FLYIO_CLIENT_SECRET it also has a dashboard, to which
// Fly.io's customers sign in. With FLYIO_WEBHOOK_SECRET it tells Fly.io what they
// do there; -webhooks list shows the webhooks that failed.
//
// This program keeps its data in SQLite and runs on one machine. The program in
// examples/logjam/machines is the same with PostgreSQL and Redis, for several
// machines. Only that program compiles their drivers.
package main

import "github.com/flyext/flyext/examples/logjam/service"

func main() { service.Main(nil) }

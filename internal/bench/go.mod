module github.com/flyext/flyext/internal/bench

go 1.26.0

require github.com/flyext/flyext v0.0.0

require (
	github.com/common-fate/httpsig v0.2.1 // indirect
	github.com/dunglas/httpsfv v1.0.2 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	golang.org/x/oauth2 v0.37.0 // indirect
)

replace github.com/flyext/flyext => ../..

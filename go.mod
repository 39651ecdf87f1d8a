module github.com/flyext/flyext

go 1.26.0

require (
	github.com/dunglas/httpsfv v1.0.2
	github.com/go-json-experiment/json v1.27.2
	github.com/golang-jwt/jwt/v5 v5.3.1
	golang.org/x/oauth2 v0.37.0
)

require github.com/common-fate/httpsig v0.2.1

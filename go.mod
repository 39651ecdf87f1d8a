module github.com/flyext/flyext

go 1.26.0

require (
	github.com/dunglas/httpsfv v1.0.2
	github.com/go-json-experiment/json v1.27.2
)

require github.com/common-fate/httpsig v0.2.1

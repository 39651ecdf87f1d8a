module github.com/flyext/flyext/cmd/flysim

go 1.26.0

require (
	github.com/flyext/flyext v0.1.0
	github.com/flyext/flyext/internal/browsertest v0.1.0
	github.com/go-json-experiment/json v1.27.2
	github.com/joho/godotenv v1.5.1
	github.com/spf13/cobra v1.10.2
	github.com/spf13/pflag v1.0.9
	github.com/vektah/gqlparser/v2 v2.5.64
	golang.org/x/sys v0.49.0
	golang.org/x/term v0.47.0
)

require (
	github.com/agnivade/levenshtein v1.2.2 // indirect
	github.com/chromedp/cdproto v0.159.0 // indirect
	github.com/chromedp/chromedp v0.23.0 // indirect
	github.com/common-fate/httpsig v0.2.1 // indirect
	github.com/dunglas/httpsfv v1.0.2 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	golang.org/x/oauth2 v0.37.0 // indirect
)

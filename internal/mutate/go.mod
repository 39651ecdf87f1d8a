module github.com/flyext/flyext/internal/mutate

go 1.26.0

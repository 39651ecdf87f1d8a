module github.com/flyext/flyext/cmd/flysim

go 1.26.0

require github.com/flyext/flyext v0.0.0

replace github.com/flyext/flyext => ../../

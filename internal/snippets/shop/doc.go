// Package shop is the example of the documentation. Its other files are those of docs/getting-started.md.
package shop

//go:generate go tool afgen .

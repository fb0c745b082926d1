//go:build long

package main

import "testing"

// The examples run on two hosts, each a network namespace: it needs root.
func TestLongDemoOnTwoHosts(t *testing.T) { demo(t, 2) }

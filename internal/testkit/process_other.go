//go:build !linux

package testkit

import "os/exec"

// dieWithParent does nothing: other systems do not have it.
func dieWithParent(*exec.Cmd) {}

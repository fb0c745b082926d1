//go:build !unix

package devstack

import (
	"errors"
	"os"
	"os/exec"
)

var errNoGroups = errors.New("servers for tests need process groups, which this system has none of")

func detach(*exec.Cmd) {}

func signalGroup(int, bool) error { return errNoGroups }

func pauseGroup(int, bool) error { return errNoGroups }

func groupAlive(int) bool { return false }

func ours(os.FileInfo) bool { return true }

//go:build unix

package logs

import "syscall"

// noFollow makes opening a link fail, and opening a named pipe not wait for its reader.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// private is set if the modes of files are permissions.
const private = true

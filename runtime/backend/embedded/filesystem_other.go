//go:build !linux && !darwin

package embedded

// fileSystem can't detect network file systems here: the user must choose a path on a local disk.
func fileSystem(string) (string, error) { return "", nil }

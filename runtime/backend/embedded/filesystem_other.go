//go:build !linux && !darwin

package embedded

// fileSystem knows of no network file systems here: that the path is on a local disk is the user's care.
func fileSystem(string) (string, error) { return "", nil }

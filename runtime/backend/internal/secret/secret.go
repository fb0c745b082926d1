// Package secret hides secrets in printed, logged and marshalled values.
package secret

// Hide returns the text to show instead of a secret: "" if s is empty.
func Hide(s string) string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

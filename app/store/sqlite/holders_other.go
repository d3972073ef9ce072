//go:build !linux

package sqlite

// Holders names the other programs that have the file open: only Linux tells.
func Holders(string) string { return "" }

// writer names the program that keeps others from writing to the file.
func writer(string) string { return "" }

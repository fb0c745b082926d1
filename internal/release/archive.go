package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// A file is one of an archive.
type file struct {
	name       string
	data       []byte
	executable bool
}

func (f file) mode() fs.FileMode {
	if f.executable {
		return 0o755
	}
	return 0o644
}

// sorted returns files by name, so that archives don't depend on the order.
func sorted(files []file) []file {
	return slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
}

// tarGz packs files below a directory, all with the same time, owner and group. It also returns the extension of such
// archives.
func tarGz(dir string, files []file, when time.Time) (data []byte, extension string, err error) {
	var b bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, "", err
	}
	w := tar.NewWriter(compressed)
	for _, f := range sorted(files) {
		header := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     dir + "/" + f.name,
			Size:     int64(len(f.data)),
			Mode:     int64(f.mode()),
			ModTime:  when,
			Format:   tar.FormatUSTAR,
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, "", err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, "", err
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	err = compressed.Close()
	return b.Bytes(), ".tar.gz", err
}

// zipped is [tarGz] for systems that have no tar.
func zipped(dir string, files []file, when time.Time) (data []byte, extension string, err error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range sorted(files) {
		header := &zip.FileHeader{Name: dir + "/" + f.name, Method: zip.Deflate, Modified: when}
		header.SetMode(f.mode())
		body, err := w.CreateHeader(header)
		if err != nil {
			return nil, "", err
		}
		if _, err := body.Write(f.data); err != nil {
			return nil, "", err
		}
	}
	err = w.Close()
	return b.Bytes(), ".zip", err
}

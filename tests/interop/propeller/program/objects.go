package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/flyteorg/flyte/flytestdlib/storage"
)

var errUnsupported = errors.New("not supported by objects in files")

// objects is propeller's raw object store over files, with the addresses that others read too: file:///folder/key.
//
// The kind of store that flytestdlib has for folders names its objects file://container/key, which only it can find.
type objects struct {
	folder string
}

type found struct {
	size int64
	is   bool
}

func (f found) Exists() bool       { return f.is }
func (f found) Size() int64        { return f.size }
func (f found) Etag() string       { return "" }
func (f found) ContentMD5() string { return "" }

// GetBaseContainerFQN returns the folder.
func (o *objects) GetBaseContainerFQN(context.Context) storage.DataReference {
	return storage.DataReference("file://" + o.folder)
}

// Head tells whether there is an object.
func (o *objects) Head(_ context.Context, reference storage.DataReference) (storage.Metadata, error) {
	path, err := pathOf(reference)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && info.IsDir()) {
		return found{}, nil
	}
	if err != nil {
		return nil, err
	}
	return found{size: info.Size(), is: true}, nil
}

// ReadRaw opens an object.
func (o *objects) ReadRaw(_ context.Context, reference storage.DataReference) (io.ReadCloser, error) {
	path, err := pathOf(reference)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, os.ErrNotExist
	}
	return file, err
}

// WriteRaw writes an object whole or not at all.
func (o *objects) WriteRaw(_ context.Context, reference storage.DataReference, _ int64, _ storage.Options, raw io.Reader) error {
	path, err := pathOf(reference)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(raw)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", data, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// CopyRaw copies an object.
func (o *objects) CopyRaw(ctx context.Context, source, destination storage.DataReference, opts storage.Options) error {
	file, err := o.ReadRaw(ctx, source)
	if err != nil {
		return err
	}
	defer file.Close()
	data, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	return o.WriteRaw(ctx, destination, int64(len(data)), opts, bytes.NewReader(data))
}

// Delete removes an object.
func (o *objects) Delete(_ context.Context, reference storage.DataReference) error {
	path, err := pathOf(reference)
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// List is asked for by no plugin here.
func (o *objects) List(context.Context, storage.DataReference, int, storage.Cursor) ([]storage.DataReference, storage.Cursor, error) {
	return nil, storage.NewCursorAtEnd(), errUnsupported
}

// CreateSignedURL is asked for by no plugin here.
func (o *objects) CreateSignedURL(context.Context, storage.DataReference, storage.SignedURLProperties) (storage.SignedURLResponse, error) {
	return storage.SignedURLResponse{}, errUnsupported
}

func pathOf(reference storage.DataReference) (string, error) {
	parsed, err := url.Parse(string(reference))
	if err != nil {
		return "", err
	}
	if parsed.Scheme != "file" || parsed.Host != "" {
		return "", errUnsupported
	}
	return filepath.FromSlash(parsed.Path), nil
}

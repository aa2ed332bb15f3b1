package s3test_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/framedb/framedb/client/objects/s3test"
)

// TestServer: a server keeps what it has through a kill, on its port, and Files
// finds the bytes.
func TestServer(t *testing.T) {
	s := s3test.Start(t)
	s.MakeBucket("some-bucket")
	c, err := minio.New(s.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s3test.AccessKey, s3test.SecretKey, ""), Region: "us-east-1",
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("some bytes")
	if _, err := c.PutObject(context.Background(), "some-bucket", "a/b", bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if res, err := http.Get("http://" + s.Endpoint + "/health"); err == nil {
		res.Body.Close()
		t.Error("a killed server answers")
	}
	s.Restart()
	info, err := c.StatObject(context.Background(), "some-bucket", "a/b", minio.StatObjectOptions{})
	if err != nil || info.Size != int64(len(data)) {
		t.Errorf("%+v, %v", info, err)
	}
	files := s.Files("some-bucket", "a/b")
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	if got, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
}

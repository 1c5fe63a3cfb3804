module org.example.holders {
  requires io.github.guestmemfd;
}

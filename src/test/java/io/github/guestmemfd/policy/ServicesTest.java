package io.github.guestmemfd.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotSame;

import io.github.guestmemfd.conversion.AtomicPair;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.testing.PatientPair;
import java.io.IOException;
import java.io.InputStream;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Policies and protocols of a user's own are found by their names. */
class ServicesTest {
  @TempDir Path folder;

  private final ClassLoader before = Thread.currentThread().getContextClassLoader();

  @AfterEach
  void restore() {
    Thread.currentThread().setContextClassLoader(before);
  }

  @Test
  void aPolicyIsFound() throws IOException {
    onClassPath(ConversionPolicy.class, OwnPolicy.class);
    assertEquals(
        List.of("eager", "on-fault", "batched", "hypercall", "own"), ConversionPolicy.ids());
    ConversionPolicy own = ConversionPolicy.byId("own").orElseThrow();
    assertEquals(OwnPolicy.class.getName(), own.getClass().getName());
    assertNotSame(own, ConversionPolicy.byId("own").orElseThrow());
    assertInstanceOf(Eager.class, ConversionPolicy.byId("eager").orElseThrow());
  }

  @Test
  void aProtocolIsFound() throws IOException {
    assertEquals(Optional.empty(), ConversionProtocol.byId("patient-pair"));
    onClassPath(ConversionProtocol.class, PatientPair.class);
    ConversionProtocol own = ConversionProtocol.byId("patient-pair").orElseThrow();
    assertEquals(PatientPair.class.getName(), own.getClass().getName());
    assertFalse(ConversionProtocol.all().contains(own), "a shipped one");
    assertInstanceOf(AtomicPair.class, ConversionProtocol.byId("atomic-pair").orElseThrow());
    assertEquals(Optional.empty(), ConversionProtocol.byId("none-such"));
  }

  /** Does what a jar with a class and its entry in META-INF/services does. */
  private void onClassPath(Class<?> service, Class<?> provider) throws IOException {
    Path entry = Files.writeString(folder.resolve("entry"), provider.getName());
    byte[] code;
    try (InputStream in = provider.getResourceAsStream(provider.getSimpleName() + ".class")) {
      code = Objects.requireNonNull(in).readAllBytes();
    }
    Thread.currentThread()
        .setContextClassLoader(
            new ClassLoader(service.getClassLoader()) {
              @Override
              protected Class<?> loadClass(String name, boolean resolve)
                  throws ClassNotFoundException {
                if (!name.equals(provider.getName())) {
                  return super.loadClass(name, resolve);
                }
                Class<?> loaded = findLoadedClass(name);
                return loaded != null ? loaded : defineClass(name, code, 0, code.length);
              }

              @Override
              protected Enumeration<URL> findResources(String name) throws IOException {
                return name.equals("META-INF/services/" + service.getName())
                    ? Collections.enumeration(List.of(entry.toUri().toURL()))
                    : Collections.emptyEnumeration();
              }
            });
  }
}

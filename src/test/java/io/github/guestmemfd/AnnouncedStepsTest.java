package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.tree.AbstractInsnNode;
import org.objectweb.asm.tree.ClassNode;
import org.objectweb.asm.tree.FieldInsnNode;
import org.objectweb.asm.tree.FieldNode;
import org.objectweb.asm.tree.MethodInsnNode;
import org.objectweb.asm.tree.MethodNode;
import org.objectweb.asm.tree.TypeInsnNode;

/**
 * Every access to a word that threads share is announced as a {@code Announce}, so that the
 * explorer sees it. Read off the bytecode of the library.
 *
 * <ul>
 *   <li>A field that holds an atomic variable or a concurrent collection is read only to be passed
 *       to {@code Announce.read} or {@code Announce.write} at once.
 *   <li>A volatile field is read through {@code Announce.read(owner)}; it is written after a {@code
 *       Announce.write}.
 *   <li>A {@code VarHandle}, or an element of an atomic array, is used after an announcement.
 *   <li>No class has a {@code ReentrantLock}: {@code Mutex} announces itself.
 * </ul>
 *
 * Constructors are left out: nothing else sees the object yet. Statistics ({@code LongAdder}) are
 * too: nothing depends on them.
 */
class AnnouncedStepsTest {
  private static final Path CLASSES = Path.of("target", "classes", "io", "github", "guestmemfd");
  private static final String STEP = "io/github/guestmemfd/spi/Announce";

  /** Packages with shared words; "" is the root. */
  private static final List<String> PACKAGES =
      List.of("", "memory", "cache", "file", "observe", "kvm", "gunyah", "platform", "policy");

  /** Accesses that need no announcement, each with the reason. */
  private static final Map<String, String> EXEMPT =
      Map.of(
          "file/Inode.mtimeNanos", "a time for stat: nothing depends on it",
          "file/PendingConversion.busyIndex", "for messages",
          "file/Completions$DefaultPool.NUMBERS", "names of threads",
          "file/Bytes", "content, announced by FrameContents.chunk");

  private final Map<String, Set<String>> sharedFields = new HashMap<>();
  private final Map<String, Set<String>> volatileFields = new HashMap<>();
  private final List<String> unannounced = new ArrayList<>();
  private int announced;

  @Test
  void everyAccessToASharedWordIsAnnounced() throws IOException {
    List<ClassNode> classes = classes();
    classes.forEach(this::noteFields);
    for (ClassNode node : classes) {
      for (MethodNode method : node.methods) {
        if (!method.name.equals("<init>") && !method.name.equals("<clinit>")) {
          check(node, method);
        }
      }
    }
    assertThat(unannounced).isEmpty();
    assertThat(announced).as("accesses seen: else this test looks at nothing").isGreaterThan(150);
  }

  private static List<ClassNode> classes() throws IOException {
    List<ClassNode> classes = new ArrayList<>();
    for (String name : PACKAGES) {
      try (Stream<Path> files = Files.list(CLASSES.resolve(name))) {
        for (Path file : files.filter(f -> f.toString().endsWith(".class")).sorted().toList()) {
          ClassNode node = new ClassNode();
          new ClassReader(Files.readAllBytes(file)).accept(node, ClassReader.SKIP_FRAMES);
          classes.add(node);
        }
      }
    }
    return classes;
  }

  // ---- fields ----

  private void noteFields(ClassNode node) {
    Set<String> shared = new HashSet<>();
    Set<String> unstable = new HashSet<>();
    for (FieldNode field : node.fields) {
      if (isShared(field.desc)) {
        shared.add(field.name);
      }
      if ((field.access & Opcodes.ACC_VOLATILE) != 0) {
        unstable.add(field.name);
      }
      if (field.desc.equals("Ljava/util/concurrent/locks/ReentrantLock;")) {
        unannounced.add(node.name + "." + field.name + " is a ReentrantLock; expected a Mutex");
      }
    }
    for (MethodNode method : node.methods) {
      if (method.name.equals("<init>")) {
        shared.addAll(initializedAsShared(node, method));
      }
    }
    sharedFields.put(node.name, shared);
    volatileFields.put(node.name, unstable);
  }

  private static boolean isShared(String type) {
    return !type.contains("LongAdder")
        && !type.startsWith("[")
        && !type.endsWith("Array;") // whose elements are words of their own
        && (type.startsWith("Ljava/util/concurrent/atomic/")
            || type.startsWith("Ljava/util/concurrent/Concurrent")
            || type.startsWith("Ljava/util/concurrent/CopyOnWrite"));
  }

  /** Fields of a plain type that a constructor sets to a concurrent collection. */
  private static Set<String> initializedAsShared(ClassNode node, MethodNode constructor) {
    Set<String> fields = new HashSet<>();
    String made = "";
    for (AbstractInsnNode at : constructor.instructions) {
      if (at instanceof TypeInsnNode type && type.getOpcode() == Opcodes.NEW) {
        made = "L" + type.desc + ";";
      } else if (at instanceof MethodInsnNode call && call.name.equals("newKeySet")) {
        made = "L" + call.owner + ";";
      } else if (at instanceof FieldInsnNode put && put.getOpcode() == Opcodes.PUTFIELD) {
        if (put.owner.equals(node.name) && isShared(made)) {
          fields.add(put.name);
        }
        made = "";
      }
    }
    return fields;
  }

  // ---- accesses ----

  private void check(ClassNode node, MethodNode method) {
    int left = 0; // announcements that no access has used yet, in the order of the code
    for (AbstractInsnNode at : method.instructions) {
      if (isStep(at)) {
        left++;
      } else if (at instanceof FieldInsnNode field) {
        String access = access(field);
        boolean reads = field.getOpcode() == Opcodes.GETFIELD;
        if (is(sharedFields, field) && reads) {
          if (require(isStep(next(at)), node, method, access)) {
            left--; // the announcement that follows is for this
          }
        } else if (is(volatileFields, field)) {
          if (require(reads ? isStepOfOwner(at) : left > 0, node, method, access)) {
            left--;
          }
        }
      } else if (at instanceof MethodInsnNode call
          && (call.owner.equals("java/lang/invoke/VarHandle")
              || call.owner.matches("java/util/concurrent/atomic/Atomic\\w+Array"))
          && call.getOpcode() == Opcodes.INVOKEVIRTUAL) {
        if (require(left > 0, node, method, call.owner + "." + call.name)) {
          left--;
        }
      }
    }
  }

  private static String access(FieldInsnNode field) {
    return field.owner.substring(field.owner.lastIndexOf("guestmemfd/") + "guestmemfd/".length())
        + "."
        + field.name;
  }

  private static boolean is(Map<String, Set<String>> fields, FieldInsnNode field) {
    return fields.getOrDefault(field.owner, Set.of()).contains(field.name);
  }

  private boolean require(boolean isAnnounced, ClassNode node, MethodNode method, String access) {
    String type = node.name.substring(node.name.lastIndexOf("guestmemfd/") + 11);
    if (isAnnounced) {
      announced++;
    } else if (!EXEMPT.containsKey(access) && !EXEMPT.containsKey(type)) {
      unannounced.add(type + "." + method.name + ": " + access);
    }
    return isAnnounced;
  }

  private static boolean isStep(AbstractInsnNode at) {
    return at instanceof MethodInsnNode call
        && call.owner.equals(STEP)
        && (call.name.equals("read") || call.name.equals("write"));
  }

  private static AbstractInsnNode next(AbstractInsnNode at) {
    AbstractInsnNode next = at.getNext();
    while (next != null && next.getOpcode() < 0) {
      next = next.getNext();
    }
    return next;
  }

  /** Whether the owner of a field that is read comes straight out of {@code Announce.read}. */
  private static boolean isStepOfOwner(AbstractInsnNode at) {
    AbstractInsnNode before = at.getPrevious();
    while (before != null && (before.getOpcode() < 0 || before.getOpcode() == Opcodes.CHECKCAST)) {
      before = before.getPrevious();
    }
    return isStep(before);
  }
}

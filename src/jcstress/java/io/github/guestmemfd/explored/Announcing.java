package io.github.guestmemfd.explored;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URL;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.objectweb.asm.tree.AbstractInsnNode;
import org.objectweb.asm.tree.ClassNode;
import org.objectweb.asm.tree.FieldInsnNode;
import org.objectweb.asm.tree.FieldNode;
import org.objectweb.asm.tree.InsnList;
import org.objectweb.asm.tree.InsnNode;
import org.objectweb.asm.tree.MethodInsnNode;
import org.objectweb.asm.tree.MethodNode;
import org.objectweb.asm.tree.VarInsnNode;

/**
 * Loads the project's classes anew, so that those of the jcstress tests announce their accesses to
 * shared words, as the library's do.
 *
 * <p>The tests are written for jcstress, and stay as they are. In their bytecode an announcement is
 * put before each access to a field that is not final, to an atomic variable, a future, or by a
 * {@link java.lang.invoke.VarHandle}; the fields of an object count as one word. Spins and parks
 * become {@link Waits}. Constructors announce nothing: what they make is not shared yet. The
 * library's classes are loaded here too, unchanged, since the tests share their packages.
 */
final class Announcing extends ClassLoader {
  private static final String PROJECT = "io.github.guestmemfd.";
  private static final String ANNOUNCE = "io/github/guestmemfd/spi/Announce";
  private static final String WAITS = Type.getInternalName(Waits.class);

  /** Classes whose objects are words, and of each the methods that only read it. */
  private static final Map<String, Set<String>> WORDS =
      Map.of(
          "java/util/concurrent/atomic/AtomicInteger",
          Set.of("get"),
          "java/util/concurrent/CompletableFuture",
          Set.of("isDone", "isCancelled"));

  private static final String VAR_HANDLE = "java/lang/invoke/VarHandle";

  /** What a thread does to wait: {@link Waits} has methods of the same names. */
  private static final Set<String> WAITING =
      Set.of("onSpinWait", "park", "parkNanos", "unpark", "interrupt");

  /** The tests' classes by name, with the names of the fields that are not final. */
  private final Map<String, Set<String>> shared = new HashMap<>();

  private final String tests;

  Announcing() {
    super(Announcing.class.getClassLoader());
    tests = Announcing.class.getProtectionDomain().getCodeSource().getLocation().toString();
  }

  @Override
  protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
    if (!name.startsWith(PROJECT)) {
      return super.loadClass(name, resolve);
    }
    synchronized (getClassLoadingLock(name)) {
      Class<?> loaded = findLoadedClass(name);
      return loaded != null ? loaded : define(name);
    }
  }

  private Class<?> define(String name) throws ClassNotFoundException {
    String internal = name.replace('.', '/');
    if (getResource(internal + ".class") == null) {
      throw new ClassNotFoundException(name);
    }
    byte[] code = read(internal);
    byte[] loaded =
        isOfTests(internal) && !internal.equals(WAITS) ? announcing(new ClassReader(code)) : code;
    return defineClass(name, loaded, 0, loaded.length);
  }

  private boolean isOfTests(String internal) {
    URL found = getResource(internal + ".class");
    return found != null && found.toString().contains(tests);
  }

  private byte[] read(String internal) {
    try (InputStream in = getResourceAsStream(internal + ".class")) {
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private byte[] announcing(ClassReader code) {
    ClassNode type = new ClassNode();
    code.accept(type, 0);
    for (MethodNode method : type.methods) {
      if (!method.name.startsWith("<")) {
        announce(method);
      }
    }
    ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_MAXS);
    type.accept(writer);
    return writer.toByteArray();
  }

  private void announce(MethodNode method) {
    for (AbstractInsnNode step : method.instructions.toArray()) {
      if (step instanceof FieldInsnNode access && isShared(access)) {
        boolean write = access.getOpcode() == Opcodes.PUTFIELD;
        Type[] above = write ? new Type[] {Type.getType(access.desc)} : new Type[0];
        method.instructions.insertBefore(step, announcement(method, above, write, false));
      } else if (step instanceof MethodInsnNode call) {
        announce(method, call);
      }
    }
  }

  private static void announce(MethodNode method, MethodInsnNode call) {
    Set<String> reads = WORDS.get(call.owner);
    Type[] arguments = Type.getArgumentTypes(call.desc);
    if (reads != null && call.getOpcode() == Opcodes.INVOKEVIRTUAL) {
      boolean write = !reads.contains(call.name);
      method.instructions.insertBefore(call, announcement(method, arguments, write, false));
    } else if (call.owner.equals(VAR_HANDLE) && call.getOpcode() == Opcodes.INVOKEVIRTUAL) {
      boolean write = !call.name.startsWith("get") || call.name.startsWith("getAnd");
      method.instructions.insertBefore(call, announcement(method, arguments, write, true));
    } else if (WAITING.contains(call.name)
        && (call.owner.equals("java/lang/Thread")
            || call.owner.equals("java/util/concurrent/locks/LockSupport"))) {
      boolean ofThread = call.getOpcode() == Opcodes.INVOKEVIRTUAL;
      call.desc = ofThread ? call.desc.replace("(", "(Ljava/lang/Thread;") : call.desc;
      call.owner = WAITS;
      call.setOpcode(Opcodes.INVOKESTATIC);
    }
  }

  /**
   * The announcement of an access to an object.
   *
   * @param above what lies on the stack above the object, which is announced; it is put aside
   * @param write whether it is a write
   * @param first whether the object that is announced is the first of those above
   */
  private static InsnList announcement(
      MethodNode method, Type[] above, boolean write, boolean first) {
    InsnList steps = new InsnList();
    List<AbstractInsnNode> back = new ArrayList<>();
    int local = method.maxLocals;
    for (int i = above.length - 1; i >= 0; i--) {
      steps.add(new VarInsnNode(above[i].getOpcode(Opcodes.ISTORE), local));
      back.add(0, new VarInsnNode(above[i].getOpcode(Opcodes.ILOAD), local));
      local += above[i].getSize();
    }
    steps.add(
        first
            ? new VarInsnNode(Opcodes.ALOAD, local - above[0].getSize())
            : new InsnNode(Opcodes.DUP));
    steps.add(new InsnNode(Opcodes.LCONST_0));
    steps.add(
        new MethodInsnNode(
            Opcodes.INVOKESTATIC, ANNOUNCE, write ? "write" : "read", "(Ljava/lang/Object;J)V"));
    back.forEach(steps::add);
    return steps;
  }

  private boolean isShared(FieldInsnNode access) {
    boolean ofObject =
        access.getOpcode() == Opcodes.GETFIELD || access.getOpcode() == Opcodes.PUTFIELD;
    return ofObject
        && access.owner.startsWith(PROJECT.replace('.', '/'))
        && isOfTests(access.owner)
        && shared(access.owner).contains(access.name);
  }

  /** The fields of a class and of what it extends that are not final. */
  private Set<String> shared(String internal) {
    Set<String> known = shared.get(internal);
    if (known == null) {
      known = new HashSet<>();
      if (isOfTests(internal)) {
        ClassNode type = new ClassNode();
        new ClassReader(read(internal)).accept(type, ClassReader.SKIP_CODE);
        for (FieldNode field : type.fields) {
          if ((field.access & Opcodes.ACC_FINAL) == 0) {
            known.add(field.name);
          }
        }
        known.addAll(shared(type.superName));
      }
      shared.put(internal, known);
    }
    return known;
  }
}

package io.github.guestmemfd;

import com.tngtech.archunit.core.domain.Dependency;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** Classes of one package, each of which needs, in the end, each other. */
final class Knots {
  private final Map<String, Set<String>> uses = new HashMap<>();

  private Knots() {}

  /**
   * Finds them.
   *
   * @param all the classes; a nested one counts as the one that it is in
   * @param root the package whose name is left out
   * @return each as the names of its classes
   */
  static Set<Set<String>> of(JavaClasses all, String root) {
    Knots knots = new Knots();
    for (JavaClass from : all) {
      for (Dependency dependency : from.getDirectDependenciesFromSelf()) {
        JavaClass to = dependency.getTargetClass();
        if (to.getPackageName().equals(from.getPackageName())) {
          knots.uses.computeIfAbsent(name(from, root), n -> new HashSet<>()).add(name(to, root));
        }
      }
    }
    Set<Set<String>> found = new HashSet<>();
    for (String name : knots.uses.keySet()) {
      Set<String> knot = new TreeSet<>();
      for (String other : knots.reachable(name)) {
        if (!other.equals(name) && knots.reachable(other).contains(name)) {
          knot.add(other);
        }
      }
      if (!knot.isEmpty()) {
        knot.add(name);
        found.add(knot);
      }
    }
    return found;
  }

  private static String name(JavaClass type, String root) {
    JavaClass outer = type.getBaseComponentType();
    while (outer.getEnclosingClass().isPresent()) {
      outer = outer.getEnclosingClass().get();
    }
    return outer.getName().substring(root.length() + 1);
  }

  private Set<String> reachable(String from) {
    Set<String> seen = new HashSet<>();
    Deque<String> next = new ArrayDeque<>(uses.getOrDefault(from, Set.of()));
    while (!next.isEmpty()) {
      String name = next.pop();
      if (seen.add(name)) {
        next.addAll(uses.getOrDefault(name, Set.of()));
      }
    }
    return seen;
  }
}

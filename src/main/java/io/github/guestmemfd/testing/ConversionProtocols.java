package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.TestTemplate;

/**
 * A test method that runs once under each conversion protocol, instead of {@code @Test}. Its class
 * has the {@link GuestMemfdExtension}; the files that this injects have the protocol, and a
 * parameter of type {@link ConversionProtocol} is it.
 */
@Documented
@Target({ElementType.METHOD, ElementType.ANNOTATION_TYPE})
@Retention(RetentionPolicy.RUNTIME)
@TestTemplate
public @interface ConversionProtocols {

  /**
   * Which protocols, by {@link ConversionProtocol#id}.
   *
   * @return the ids; none means {@linkplain ConversionProtocol#all all}
   */
  String[] value() default {};

  /**
   * Whether protocols that are known to be unsound take part, where none are named.
   *
   * @return false unless they do
   */
  boolean unsound() default false;
}

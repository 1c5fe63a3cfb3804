package io.github.guestmemfd.lab.workload;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * A job that a guest gives its device.
 *
 * @param page the first page
 * @param pages how many
 * @param early whether the device says that it is done before it drops the pages
 * @param outstanding counts the jobs that the vCPU has given and the device has not done
 */
record Transfer(int page, int pages, boolean early, AtomicInteger outstanding) {}

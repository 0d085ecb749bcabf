/**
 * Version of this package; a test compares it with package.json. It is not read from there, because a program that a
 * bundler put into one file has no package.json.
 */
export const clientVersion = '0.1.0'

CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, email TEXT UNIQUE, realname TEXT NOT NULL DEFAULT '',
  comment TEXT NOT NULL DEFAULT '', secret TEXT NOT NULL, salt TEXT NOT NULL, sysadmin INTEGER NOT NULL DEFAULT 0,
  deleted INTEGER NOT NULL DEFAULT 0, creation_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS projects (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, owner_id INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
  creation_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS proxies (project_id INTEGER PRIMARY KEY, registry_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS metadata (
  project_id INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (project_id, key));
CREATE TABLE IF NOT EXISTS members (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, entity_type TEXT NOT NULL, entity_id INTEGER NOT NULL,
  role INTEGER NOT NULL, UNIQUE (project_id, entity_type, entity_id));
CREATE TABLE IF NOT EXISTS user_groups (
  id INTEGER PRIMARY KEY AUTOINCREMENT, group_name TEXT NOT NULL, group_type INTEGER NOT NULL,
  ldap_group_dn TEXT NOT NULL DEFAULT '', creation_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit_log (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, op_time TEXT NOT NULL, operation TEXT NOT NULL,
  operation_description TEXT NOT NULL, is_successful INTEGER NOT NULL, resource_type TEXT NOT NULL,
  resource TEXT NOT NULL, username TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS audit_log_project ON audit_log (project_id);
CREATE TABLE IF NOT EXISTS robots (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
  secret TEXT NOT NULL, salt TEXT NOT NULL, duration INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  disabled INTEGER NOT NULL DEFAULT 0, creator_type TEXT NOT NULL, creator_ref INTEGER NOT NULL, permissions TEXT NOT NULL,
  creation_time TEXT NOT NULL, update_time TEXT NOT NULL, UNIQUE (project_id, name));
CREATE TABLE IF NOT EXISTS repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '',
  pull_count INTEGER NOT NULL DEFAULT 0, creation_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS artifacts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, repository_id INTEGER NOT NULL, repository_name TEXT NOT NULL,
  digest TEXT NOT NULL, type TEXT NOT NULL, media_type TEXT NOT NULL, manifest_media_type TEXT NOT NULL,
  artifact_type TEXT NOT NULL, size INTEGER NOT NULL, manifest_size INTEGER NOT NULL, extra_attrs TEXT NOT NULL,
  annotations TEXT NOT NULL, push_time TEXT NOT NULL, pull_time TEXT NOT NULL, UNIQUE (repository_id, digest));
CREATE TABLE IF NOT EXISTS children (
  parent_id INTEGER NOT NULL, child_id INTEGER NOT NULL, child_digest TEXT NOT NULL, platform TEXT NOT NULL,
  annotations TEXT NOT NULL, urls TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS children_child ON children (child_id);
CREATE TABLE IF NOT EXISTS tags (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository_id INTEGER NOT NULL, artifact_id INTEGER NOT NULL, name TEXT NOT NULL,
  push_time TEXT NOT NULL, pull_time TEXT NOT NULL, UNIQUE (repository_id, name));
CREATE TABLE IF NOT EXISTS accessories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, artifact_id INTEGER NOT NULL, subject_artifact_id INTEGER NOT NULL DEFAULT 0,
  subject_artifact_digest TEXT NOT NULL, subject_artifact_repo TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
  type TEXT NOT NULL, creation_time TEXT NOT NULL, UNIQUE (artifact_id, subject_artifact_digest));
CREATE TABLE IF NOT EXISTS blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, content_type TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS project_blobs (project_id INTEGER NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (project_id, digest));
CREATE TABLE IF NOT EXISTS artifact_blobs (artifact_digest TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (artifact_digest, digest));
CREATE TABLE IF NOT EXISTS uploads (session TEXT PRIMARY KEY, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS immutable_rules (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL, disabled INTEGER NOT NULL, rule TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS quotas (
  id INTEGER PRIMARY KEY AUTOINCREMENT, project_id INTEGER NOT NULL UNIQUE, hard INTEGER NOT NULL,
  creation_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS labels (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, description TEXT NOT NULL, color TEXT NOT NULL, scope TEXT NOT NULL,
  project_id INTEGER NOT NULL, creation_time TEXT NOT NULL, update_time TEXT NOT NULL, UNIQUE (name, scope, project_id));
CREATE TABLE IF NOT EXISTS artifact_labels (
  label_id INTEGER NOT NULL, artifact_id INTEGER NOT NULL, PRIMARY KEY (label_id, artifact_id));

//! The operator of a server, who may not be the owner of the experiment.

use crate::Manifest;
use crate::description::sha256;

/// The policy of an operator, which adds to that of the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// The organisation that controls the data, instead of the owner.
    pub controller: Option<String>,
    /// The mail address for questions about personal data, instead of the owner's.
    pub contact: Option<String>,
    /// Text that people see after that of the manifest.
    pub text: Option<String>,
}

impl Operator {
    /// Returns the part of the policy's version that changes with the operator's policy.
    pub(crate) fn tag(&self) -> String {
        let parts = [&self.controller, &self.contact, &self.text];
        let parts = parts.map(|part| part.as_deref().unwrap_or_default());
        format!("op{}", &sha256(&parts.join("\0"))[..8])
    }
}

impl Manifest {
    /// Returns the manifest of an experiment that this operator runs. [`Manifest::attach`] makes the policy from it.
    #[must_use]
    pub fn operated_by(mut self, operator: Operator) -> Self {
        let is_empty = operator == Operator::default();
        self.operator = (!is_empty).then_some(operator);
        self
    }

    /// The organisation that controls the data.
    pub fn controller(&self) -> &str {
        let named = self
            .operator
            .as_ref()
            .and_then(|it| it.controller.as_deref());
        named.unwrap_or(&self.owner.organization)
    }

    /// The mail address for questions about personal data.
    pub fn privacy_contact(&self) -> &str {
        let named = self.operator.as_ref().and_then(|it| it.contact.as_deref());
        let own = self
            .contacts
            .as_ref()
            .map(|contacts| contacts.privacy.as_str());
        named.or(own).unwrap_or(&self.owner.email)
    }
}
